select 1 as id, 'eu' || 'x' as region, 3 * 2 as amount
